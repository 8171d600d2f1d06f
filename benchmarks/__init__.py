"""How fast the webhook is, in ratios against what the same machine does in the same minute."""
