"""Every option: its type, meaning and range; and how a configuration is checked."""
