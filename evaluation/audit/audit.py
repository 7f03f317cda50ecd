"""All findings about train rows and val tickets."""

from evaluation.audit.evidence import Evidence
from evaluation.audit.findings import Finding
from evaluation.audit.intents import alike_findings, few_row_findings
from evaluation.audit.labels import duplicate_findings, label_findings
from evaluation.audit.numbers import number_findings
from evaluation.audit.stored_data import personal_data_findings
from evaluation.audit.to_label import to_label_findings
from retrieval.encoder import Encoder


def audit(found: Evidence, encoder: Encoder) -> list[Finding]:
    """All findings, by kind."""
    return [
        *label_findings(found),
        *duplicate_findings(found),
        *number_findings(found, encoder),
        *personal_data_findings(found),
        *alike_findings(found),
        *few_row_findings(found),
        *to_label_findings(found),
    ]
