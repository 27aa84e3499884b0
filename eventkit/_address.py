"""Short addresses of files on hosts that many datasets use, as https.

figshare:38022171                     the file of that number
zenodo:4302805/NAME.bag               a file of a record
doi:10.5281/zenodo.4302805/NAME.bag   the same
gdrive:1lCh2HWvxEzzaBHT5TlPuyUn6XPM   a file of Google Drive, by its id
hf://datasets/OWNER/NAME/PATH         a file of a dataset on Hugging Face; @REVISION after NAME
"""

import re

ADDRESSES = "https://, http://, hf://, doi:, zenodo:, figshare: or gdrive:"
ZENODO = "https://zenodo.org/records/{}/files/{}?download=1"
HOSTS = (
    (r"figshare:(\d+)", "https://ndownloader.figshare.com/files/{}"),
    (r"zenodo:(\d+)/(.+)", ZENODO),
    (r"doi:10\.5281/zenodo\.(\d+)/(.+)", ZENODO),
    (
        r"gdrive:([\w-]+)",
        "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t",
    ),
    (
        r"hf://(datasets/[\w.-]+/[\w.-]+)@([\w.-]+)/(.+)",
        "https://huggingface.co/{}/resolve/{}/{}",
    ),
    (r"hf://(datasets/[\w.-]+/[\w.-]+)/(.+)", "https://huggingface.co/{}/resolve/main/{}"),
)


def https(address: str) -> str | None:
    """The address as https (or http, where it is so); None for one that is of no known kind.

    >>> https("figshare:38022171")
    'https://ndownloader.figshare.com/files/38022171'
    """
    if address.startswith(("https://", "http://")):
        return address
    for pattern, host in HOSTS:
        if found := re.fullmatch(pattern, address):
            return host.format(*found.groups())
    return None
