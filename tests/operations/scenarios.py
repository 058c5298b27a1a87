"""Where each block of docs/operations.md is run, and in which order."""

BEGIN = ("Rights 1", "Starting 1", "Starting 2", "First users 1")

HOUSE = (
    *BEGIN,
    "Many applications at once 1",
    "Mail 1",
    "Keys 1",
    "Keys 2",
    "Signed mail 1",
    "Other secrets 1",
    "Other secrets 2",
    "When a part is down 1",
    "Looking over the log 1",
    "Erasing a person 1",
    "Client secrets 1",
    "Upgrades 1",
)

DRILLS = (
    "Rights 1",
    "RabbitMQ cluster 1",
    "Starting 1",
    "Starting 2",
    "First users 1",
    "RabbitMQ is gone 1",
    "RabbitMQ is gone 2",
    "Somebody deleted the queue 1",
    "Other secrets 3",
    "Postgres is gone 1",
    "Postgres is gone 2",
    "The registry is gone for an hour 1",
    "The registry is gone for an hour 2",
    "A token host is lost with its projection 1",
    "The private key is lost 1",
    "Keys 3",
    "The mail server is gone 1",
    "The mail server is gone 2",
    "The disk is full 1",
    "The disk is full 2",
    "A clock is wrong 1",
)

BACKUP = (*BEGIN, "Backup and restore 1")
RESTORE = (
    "Restoring 1",
    "Restoring 2",
    "Restoring 3",
    "Restoring 4",
    "Restoring 5",
)

NOT_RUN = {
    "Sizing 1": "takes a quarter of an hour: `make bench` runs it; the test asks each for --help",
}
