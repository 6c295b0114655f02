"""The page at /api/v1/docs: swagger-ui with files from this package only.

The folder `swagger_ui` holds files of the npm package `swagger-ui-dist`, unchanged and under their
own licence; its `manifest.json` names version, source and digests. `static` holds our own files.
"""
