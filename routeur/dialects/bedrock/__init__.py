"""Amazon's Bedrock, Converse: spoken to providers only, so it has no paths of its own."""
