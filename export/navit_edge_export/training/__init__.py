"""What only training uses."""
