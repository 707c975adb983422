"""The optimizers that a recipe can name (`optim`), one file each.

To add one, add its file here: it defines `OPTIMIZER`. The memory model (`models/memory.py`) needs its state size only
where that differs from AdamW's.
"""
