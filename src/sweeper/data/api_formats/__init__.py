"""How APIs are listed in the system message (`data.api_format`), one format a file. Each defines `API_FORMAT`."""
