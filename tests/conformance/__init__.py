"""What all of a kind must do, whoever wrote them."""
