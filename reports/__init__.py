"""Reports: certificates as others read them.

Each report is one function from a certificate to text, registered in ``auditor.report.REPORTS``
and found through the entry point group ``auditor.reports``. A report decides nothing: it shows
what the certificate holds, and a number that was not measured is shown as not measured.
"""
