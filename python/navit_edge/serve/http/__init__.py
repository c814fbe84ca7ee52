"""The server over HTTP: the Open Inference Protocol and what lies beside it. Imports the extra ``serve``."""
