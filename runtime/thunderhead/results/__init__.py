"""What ``self.log`` records: entries per name, their rules per hook, and their reduction."""
