"""Files that people write, read whole or refused with everything that is wrong in them."""
