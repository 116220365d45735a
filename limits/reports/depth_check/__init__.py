"""A depth check for a terminal, for other programs, and for a colleague's browser."""

from limits.reports.depth_check.facts import check_facts as check_facts
from limits.reports.depth_check.page import check_figure as check_figure
from limits.reports.depth_check.page import check_html as check_html
from limits.reports.depth_check.plain import check_json as check_json
from limits.reports.depth_check.terminal import check_report as check_report
