"""A job: images by the million through a session into a file, exactly once (`navit-edge run`, docs/run.md).

``sources`` names the images, ``sinks`` keep the results, ``journal`` says what is done already, ``job`` ties them
together.
"""
