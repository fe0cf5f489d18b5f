"""Long drills: `make drills`; the counts come from the environment."""
