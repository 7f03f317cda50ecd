"""What the parts are good for and what they cost, on public and on made data."""
