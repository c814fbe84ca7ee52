"""The parts that models are made of: attention, blocks, embeddings, norms, pooling."""
