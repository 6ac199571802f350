"""What all commands share: flags, the start and the end."""
