"""The one exception for data that cannot be used as it is."""


class DataError(ValueError):
    """A file or folder that the user must mend; the message names it and says how."""
