# read-profiles.py PROFILE FILE...: what botocore, on which boto3 and the AWS CLI stand, reads from each file, as JSON.
import json
import sys

from botocore.configloader import raw_config_parse
from botocore.credentials import SharedCredentialProvider
from botocore.exceptions import BotoCoreError

KEYS = ('aws_access_key_id', 'aws_secret_access_key', 'aws_session_token')


def read(path, profile):
    try:
        found = SharedCredentialProvider(path, profile).load()
        sections = raw_config_parse(path)
    except BotoCoreError as error:
        return {'error': type(error).__name__}
    others = {
        name: {key: value for key, value in section.items() if name.strip() != profile or key not in KEYS}
        for name, section in sections.items()
    }
    return {'keys': found and [found.access_key, found.secret_key, found.token], 'others': others}


print(json.dumps([read(path, sys.argv[1]) for path in sys.argv[2:]]))
