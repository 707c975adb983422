"""What happens to an example longer than the model's context (`data.fit`), one policy a file. Each defines `POLICY`.

The policy is part of a trial's identity. Whatever it drops or cuts is counted.
"""
