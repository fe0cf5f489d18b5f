"""Programs that this project is made with; none of them is part of the wheel."""
