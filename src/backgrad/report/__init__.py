"""The report of an audit: pages, figures and gate results from `audit.json`. It renders, and computes nothing."""

from .figures import write_figures
from .folder import write_audit
from .html import render, write_report
from .junit import junit_xml, write_junit
from .schema import SCHEMA_VERSION, AuditRecord, json_schema, validate
from .words import MAPPINGS, mappings_for

__all__ = [
    "MAPPINGS",
    "SCHEMA_VERSION",
    "AuditRecord",
    "json_schema",
    "junit_xml",
    "mappings_for",
    "render",
    "validate",
    "write_audit",
    "write_figures",
    "write_junit",
    "write_report",
]
