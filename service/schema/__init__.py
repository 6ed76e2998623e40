"""The API's JSON: reading and checking requests, writing answers, and the OpenAPI document that describes both."""
