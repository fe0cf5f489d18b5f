"""Programs for the development of this project; none of them is part of the wheel."""
