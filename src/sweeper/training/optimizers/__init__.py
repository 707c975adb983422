"""The optimizers that a recipe can name (`optim`), one file each.

To add one, add its file here: it defines `OPTIMIZER`, and `TRAITS` with the bytes that it needs per parameter
(`sweeper.config.OptimizerTraits`), from which memory and disk usage are predicted.
"""
