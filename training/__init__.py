"""How the demo model in `gateway/demo/checkpoint` is made: pictures, questions, training, checkpoint."""
