"""A whole client of RadScribe in one file, to copy. It needs grpcio, protobuf and generated stubs:

    pip install grpcio grpcio-tools
    python -m grpc_tools.protoc -I proto --python_out=stubs --grpc_python_out=stubs \
        google/rpc/status.proto google/rpc/error_details.proto \
        radscribe/v1/{common,generator,labeler,release,report}.proto
    PYTHONPATH=stubs python client.py 127.0.0.1:50051 IMAGE

RADSCRIBE_TOKEN is sent as a bearer token. RADSCRIBE_CA, a file of CA certificates, switches TLS on.
"""

import os
import sys
import time

import grpc
from google.rpc import error_details_pb2, status_pb2
from radscribe.v1 import labeler_pb2, report_pb2, report_pb2_grpc

ATTEMPTS = 3
DEADLINE_S = 60.0
MAX_MESSAGE_BYTES = 128 * 1024 * 1024


def connect(address):
    options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
    ca = os.environ.get("RADSCRIBE_CA")
    if ca is None:
        return grpc.insecure_channel(address, options)
    with open(ca, "rb") as file:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()), options)


def details(error):
    """The ErrorInfo, BadRequest and RetryInfo of an error, by the names of their messages."""
    found = {}
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            for kind in ("ErrorInfo", "BadRequest", "RetryInfo"):
                message = getattr(error_details_pb2, kind)()
                if detail.Unpack(message):
                    found[kind] = message
    return found


def stream_report(service, request, metadata):
    """Prints what is known as soon as it is known: labels, the text as it is written, the report."""
    for event in service.StreamReport(request, timeout=DEADLINE_S, metadata=metadata):
        kind = event.WhichOneof("event")
        if kind == "labels":
            for label in event.labels.labels:
                if label.state == labeler_pb2.LABEL_STATE_POSITIVE:
                    print(f"{label.name} {label.probability:.2f}")
        elif kind == "text":
            print(event.text.text, end="", flush=True)
        elif kind == "report":
            print(f"\n\nby release {event.report.release}")
            for warning in event.report.warnings:
                print(f"warning: {warning.message}")


def main(address, image):
    with open(image, "rb") as file:
        data = file.read()
    request = report_pb2.GenerateReportRequest(
        images=[report_pb2.Image(data=data)], include_labels=True
    )
    token = os.environ.get("RADSCRIBE_TOKEN")
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with connect(address) as channel:
        service = report_pb2_grpc.ReportServiceStub(channel)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                stream_report(service, request, metadata)
                return 0
            except grpc.RpcError as error:
                found = details(error)
                retry = found.get("RetryInfo")
                # Only a RetryInfo says that the same request may succeed later, and when.
                if retry is not None and attempt < ATTEMPTS:
                    time.sleep(retry.retry_delay.ToTimedelta().total_seconds())
                    continue
                info = found.get("ErrorInfo")
                reason = f" {info.reason}" if info else ""
                print(f"{error.code().name}{reason}: {error.details()}", file=sys.stderr)
                for violation in getattr(found.get("BadRequest"), "field_violations", ()):
                    print(f"field: {violation.field}", file=sys.stderr)
                return 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: client.py HOST:PORT IMAGE")
    sys.exit(main(*sys.argv[1:]))
