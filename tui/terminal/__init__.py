"""The terminal itself: driver, clipboard, typed-ahead keys, GPUs, pictures and themes."""
