"""Text towers: the model, its graph in a bundle, its tokenizer's file, and heads folded from text embeddings."""
