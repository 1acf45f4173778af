"""Images from files: decoding, folders of classes, and photographs of digits."""
