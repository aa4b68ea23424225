"""Training of a network on random patches, in segments that continue each other, survive kills and give the same weights.

`train.train_segment` and `select.select_checkpoint` are what others call. Nothing is imported here: the processes that read
patches import `sampling` and `data` alone, and start in a fraction of the time that Lightning takes.
"""
