"""A gRPC server and client on Google's own library, to be put on the two sides of a proxy.

    grpc_flows.py serve             prints its port, serves until its standard input ends
    grpc_flows.py call HOST PORT    runs the flows, and prints how many passed and failed
"""

import concurrent.futures
import sys
import threading
import time

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "weir.test.Flows"
# Nothing takes this long, in seconds, unless it hangs.
LONG = 60
begun, cancelled = threading.Event(), threading.Event()


def unary(request, context):
    context.set_trailing_metadata((("x-late", "after"), ("x-bytes-bin", b"\x00\xff")))
    context.send_initial_metadata((("x-early", "before"),))
    seen = dict(context.invocation_metadata()).get("x-asked", "")
    return request + b"|" + seen.encode()


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def total(requests, context):
    return str(sum(int(request) for request in requests)).encode()


def chat(requests, context):
    for request in requests:
        yield b"re: " + request


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00e9\n100%")


def slow(request, context):
    left = context.time_remaining()
    if request == b"left":
        return str(left).encode()
    context.add_callback(cancelled.set)
    begun.set()
    while context.is_active():
        time.sleep(0.02)
    return b""


def was_seen(event):
    seen = event.wait(LONG)
    event.clear()
    return b"yes" if seen else b"no"


def has_begun(request, context):
    return was_seen(begun)


def was_cancelled(request, context):
    return was_seen(cancelled)


def serve():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=64))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "HasBegun": grpc.unary_unary_rpc_method_handler(has_begun),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    status = health.HealthServicer()
    status.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


class Flows:
    def __init__(self, host, port):
        self.target = f"{host}:{port}"
        self.channel = self.connect("flows.test")

    def connect(self, authority):
        options = (("grpc.default_authority", authority), ("grpc.max_receive_message_length", -1))
        return grpc.insecure_channel(self.target, options=options)

    def method(self, kind, name, channel=None):
        return getattr(channel or self.channel, kind)(f"/{SERVICE}/{name}")

    def flow_unary_with_metadata(self):
        call = self.method("unary_unary", "Unary")
        response, call = call.with_call(b"hello", metadata=(("x-asked", "please"),), timeout=LONG)
        assert response == b"hello|please", response
        assert ("x-early", "before") in call.initial_metadata()
        assert ("x-late", "after") in call.trailing_metadata()
        assert ("x-bytes-bin", b"\x00\xff") in call.trailing_metadata()

    def flow_server_streaming(self):
        got = list(self.method("unary_stream", "Count")(b"500", timeout=LONG))
        assert got == [str(number).encode() for number in range(500)], len(got)

    def flow_client_streaming(self):
        requests = (str(number).encode() for number in range(500))
        assert self.method("stream_unary", "Total")(requests, timeout=LONG) == b"124750"

    def flow_bidirectional_streaming_in_turns(self):
        turns = threading.Semaphore(1)

        def questions():
            for number in range(50):
                turns.acquire()
                yield str(number).encode()

        for number, answer in enumerate(self.method("stream_stream", "Chat")(questions(), timeout=LONG)):
            assert answer == f"re: {number}".encode(), answer
            turns.release()
        assert number == 49

    def flow_large_messages(self):
        large = bytes(range(256)) * 12_000
        assert self.method("unary_unary", "Unary")(large, timeout=LONG) == large + b"|"

    def flow_many_at_once(self):
        call = self.method("unary_unary", "Unary")
        calls = [call.future(str(number).encode(), timeout=LONG) for number in range(300)]
        for number, one in enumerate(calls):
            assert one.result() == f"{number}|".encode()

    def flow_errors_keep_status_and_details(self):
        error = self.error(self.method("unary_unary", "Fail"), b"")
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert error.details() == "no such thing: \u00e9\n100%", error.details()

    def flow_unknown_methods_are_unimplemented(self):
        assert self.error(self.method("unary_unary", "Nothing"), b"").code() == grpc.StatusCode.UNIMPLEMENTED

    def flow_deadline_goes_along(self):
        left = float(self.method("unary_unary", "Slow")(b"left", timeout=LONG))
        assert LONG / 2 < left < LONG + 0.2, left

    def flow_deadline_ends_the_call(self):
        error = self.error(self.method("unary_unary", "Slow"), b"", timeout=3)
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        assert self.said("HasBegun") == self.said("WasCancelled") == b"yes"

    def flow_cancelling_reaches_the_server(self):
        call = self.method("unary_unary", "Slow").future(b"", timeout=2 * LONG)
        assert self.said("HasBegun") == b"yes"
        call.cancel()
        assert self.said("WasCancelled") == b"yes"

    def flow_health_is_checked_and_watched(self):
        stub = health_pb2_grpc.HealthStub(self.channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        assert stub.Check(request, timeout=LONG).status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(request, timeout=LONG)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()

    def flow_a_service_that_is_down_is_unavailable(self):
        channel = self.connect("down.test")
        error = self.error(self.method("unary_unary", "Unary", channel), b"")
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        assert ("x-weir-reason", "connect_failed") in error.initial_metadata() + error.trailing_metadata(), error

    def flow_a_host_without_a_route_is_unimplemented(self):
        channel = self.connect("unknown.test")
        error = self.error(self.method("unary_unary", "Unary", channel), b"")
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

    def said(self, name):
        return self.method("unary_unary", name)(b"", timeout=2 * LONG)

    @staticmethod
    def error(call, request, timeout=LONG):
        try:
            call(request, timeout=timeout)
        except grpc.RpcError as error:
            return error
        raise AssertionError("it went well")


def call(host, port):
    flows = Flows(host, port)
    passed, failed = 0, 0
    for name in [name for name in dir(flows) if name.startswith("flow_")]:
        try:
            getattr(flows, name)()
            passed += 1
        except Exception as error:
            failed += 1
            print(f"{name}: {type(error).__name__}: {error}")
    print(f"grpcio: {passed} passed, {failed} failed")


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else call(*sys.argv[2:])
