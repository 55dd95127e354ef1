"""`axgate doctor`: is this machine, its card, and the way to it in order, and if not, what helps."""
