"""`python -m kohonen_tokenizer` is the command `kohonen-tokenizer`."""

from .cli import main

if __name__ == "__main__":
    main()
