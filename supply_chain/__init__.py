"""What we build on: licences, bill of materials, known vulnerabilities, reproducible image."""
