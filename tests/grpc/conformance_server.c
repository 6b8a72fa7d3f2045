/*
 * conformance_server: the service that connectconformance asks (connectrpc.conformance.v1.ConformanceService). Reads a
 * ServerCompatRequest from stdin, writes a ServerCompatResponse to stdout, each behind its length in four bytes, and
 * serves until SIGTERM.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "tests/grpc/program.h"

#include <ctype.h>
#include <sodium/utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Field numbers. */
enum { SETUP_TLS = 4, SETUP_CLIENT_CERT = 5, SETUP_LIMIT = 6, SETUP_CREDENTIALS = 7 };
enum { READY_HOST = 1, READY_PORT = 2, READY_CERT = 3 };
enum { CREDENTIALS_CERT = 1, CREDENTIALS_KEY = 2 };
enum { REQUEST_DEFINITION = 1, REQUEST_FULL_DUPLEX = 2 };
enum { DEFINITION_HEADERS = 1, DEFINITION_DATA = 2 };
enum { HEADER_NAME = 1, HEADER_VALUE = 2 };
enum { PAYLOAD_DATA = 1, PAYLOAD_INFO = 2 };
enum { INFO_HEADERS = 1, INFO_TIMEOUT = 2, INFO_REQUESTS = 3 };
enum { ANY_TYPE = 1, ANY_VALUE = 2 };
enum { ERROR_CODE = 1, ERROR_MESSAGE = 2, ERROR_DETAILS = 3 };

#define TYPE_PREFIX "type.googleapis.com/connectrpc.conformance.v1."
#define TEXT_MAX ((size_t)64 << 20)

/* A response definition of a method with one response, or with a stream of them: their fields' numbers differ. */
struct definition_fields {
	uint32_t error;
	uint32_t trailers;
	uint32_t delay;
};

static const struct definition_fields one_fields = {.error = 3, .trailers = 4, .delay = 6};
static const struct definition_fields stream_fields = {.error = 4, .trailers = 5, .delay = 3};

struct service_method {
	struct grpc_method method; /* first */
	const char *request_type;
	bool is_server_streaming;
};

struct conversation {
	struct grpc_call *call;
	const struct service_method *method;
	struct loop_timer *timer;
	struct grpc_message *requests; /* all of them, to be echoed */
	size_t request_count;
	size_t echoed;		 /* of the requests */
	struct bytes definition; /* in the first request; `at` NULL: none */
	struct bytes rest;	 /* of the definition, behind the data that was sent */
	size_t sent;		 /* responses */
	bool is_full_duplex;
	bool has_half_closed;
	bool has_waited; /* before the next response */
};

static void go_on(struct conversation *conversation);

static void
free_conversation(struct conversation *conversation)
{
	for (size_t i = 0; i < conversation->request_count; i++) {
		grpc_message_release(&conversation->requests[i]);
	}
	free(conversation->requests);
	loop_timer_free(conversation->timer);
	free(conversation);
}

static const struct definition_fields *
fields_of(const struct conversation *conversation)
{
	return conversation->method->is_server_streaming ? &stream_fields : &one_fields;
}

/* --- The echo of the request --- */

static bool
is_earlier(const struct grpc_metadata *list, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (bytes_equal(list[i].name, list[at].name)) {
			return true;
		}
	}
	return false;
}

/* One Header for each name, with all its values. */
static void
put_headers(struct buf *out, const struct grpc_call *call)
{
	const struct grpc_metadata *list;
	size_t count = grpc_call_metadata_list(call, &list);
	struct buf header;

	buf_init(&header, TEXT_MAX);
	for (size_t i = 0; i < count; i++) {
		if (is_earlier(list, i)) {
			continue;
		}
		buf_clear(&header);
		protobuf_put_text(&header, HEADER_NAME, list[i].name);
		for (size_t k = i; k < count; k++) {
			if (bytes_equal(list[k].name, list[i].name)) {
				protobuf_put_bytes(&header, HEADER_VALUE, list[k].value);
			}
		}
		protobuf_put_bytes(out, INFO_HEADERS, buf_bytes(&header));
	}
	buf_fini(&header);
}

static void
put_any(struct buf *out, uint32_t number, const char *type, struct bytes value)
{
	struct buf any;

	buf_init(&any, TEXT_MAX);
	protobuf_put_text(&any, ANY_TYPE, bytes_text(type));
	protobuf_put_bytes(&any, ANY_VALUE, value);
	protobuf_put_bytes(out, number, buf_bytes(&any));
	buf_fini(&any);
}

/* The requests that have not been echoed yet; before the first response, what the call's head says, too. */
static void
put_info(struct buf *out, struct conversation *conversation)
{
	uint64_t timeout_ns;

	if (conversation->sent == 0) {
		put_headers(out, conversation->call);
		if (grpc_call_timeout(conversation->call, &timeout_ns)) {
			protobuf_put_tag(out, INFO_TIMEOUT, PROTOBUF_VARINT);
			protobuf_put_varint(out, timeout_ns / NS_PER_MS);
		}
	}
	while (conversation->echoed < conversation->request_count) {
		put_any(out, INFO_REQUESTS, conversation->method->request_type,
			conversation->requests[conversation->echoed++].content);
	}
}

/* --- Responses --- */

static void
send_response(struct conversation *conversation, struct bytes data)
{
	struct buf info;
	struct buf payload;
	struct buf text;

	buf_init(&info, TEXT_MAX);
	buf_init(&payload, TEXT_MAX);
	buf_init(&text, TEXT_MAX);
	protobuf_put_text(&payload, PAYLOAD_DATA, data);
	put_info(&info, conversation);
	if (info.length > 0) {
		protobuf_put_bytes(&payload, PAYLOAD_INFO, buf_bytes(&info));
	}
	protobuf_put_bytes(&text, 1, buf_bytes(&payload));
	buf_fini(&info);
	buf_fini(&payload);
	conversation->sent++;
	program_send(conversation->call, &text, true);
}

static void
put_base64(struct buf *out, struct bytes bytes)
{
	size_t size = sodium_base64_ENCODED_LEN(bytes.length, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
	char *at = (char *)buf_reserve(out, size);

	if (at != NULL) {
		(void)sodium_bin2base64(at, size, bytes.at, bytes.length, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
		out->length += size - 1; /* without the NUL */
	}
}

/* An Error has the fields of google.rpc.Status. Before any response, the echo is one of its details. */
static void
finish_with_error(struct conversation *conversation, struct bytes error)
{
	struct buf status;
	struct buf info;
	struct buf encoded;

	buf_init(&status, TEXT_MAX);
	buf_init(&info, TEXT_MAX);
	buf_init(&encoded, TEXT_MAX);
	buf_append(&status, error);
	if (conversation->sent == 0) {
		put_info(&info, conversation);
		put_any(&status, ERROR_DETAILS, TYPE_PREFIX "ConformancePayload.RequestInfo", buf_bytes(&info));
	}
	put_base64(&encoded, buf_bytes(&status));
	grpc_call_add_trailer(conversation->call, "grpc-status-details-bin", buf_bytes(&encoded));
	program_finish(conversation->call, message_number(error, ERROR_CODE), message_bytes(error, ERROR_MESSAGE));
	buf_fini(&status);
	buf_fini(&info);
	buf_fini(&encoded);
}

static void
finish(struct conversation *conversation)
{
	struct bytes error = message_bytes(conversation->definition, fields_of(conversation)->error);

	if (error.at != NULL) {
		finish_with_error(conversation, error);
	} else {
		grpc_call_finish(conversation->call, GRPC_OK, bytes_make(NULL, 0));
	}
	free_conversation(conversation);
}

/* Takes the data of the next response. False: there is none. A method with one response has it even without data. */
static bool
next_data(struct conversation *conversation, struct bytes *data)
{
	struct bytes error = message_bytes(conversation->definition, fields_of(conversation)->error);

	*data = bytes_make(NULL, 0);
	return message_next(&conversation->rest, DEFINITION_DATA, data) ||
	       (!conversation->method->is_server_streaming && conversation->sent == 0 && error.at == NULL);
}

static void
on_timer(void *argument)
{
	struct conversation *conversation = argument;

	conversation->has_waited = true;
	if (conversation->is_full_duplex) {
		grpc_call_resume(conversation->call);
	}
	go_on(conversation);
}

/* Waits as the definition says. False: there is nothing to wait for. While it waits, no request is taken. */
static bool
wait_first(struct conversation *conversation, bool has_response)
{
	uint64_t delay = message_number(conversation->definition, fields_of(conversation)->delay);

	if (conversation->has_waited || delay == 0 || (!has_response && conversation->method->is_server_streaming)) {
		return false;
	}
	loop_timer_set(conversation->timer, delay);
	if (conversation->is_full_duplex) {
		grpc_call_pause(conversation->call);
	}
	return true;
}

/* Has all come that the next response waits for? With full duplex, that is one request. */
static bool
is_due(const struct conversation *conversation)
{
	return conversation->has_half_closed ||
	       (conversation->is_full_duplex && conversation->echoed < conversation->request_count);
}

/* Sends the responses that are due, and ends the call after the last. */
static void
go_on(struct conversation *conversation)
{
	while (is_due(conversation)) {
		struct bytes before = conversation->rest;
		struct bytes data;
		bool has_response = next_data(conversation, &data);

		if (wait_first(conversation, has_response)) {
			conversation->rest = before;
			return;
		}
		conversation->has_waited = false;
		if (!has_response) {
			finish(conversation);
			return;
		}
		send_response(conversation, data);
	}
}

/* --- Requests --- */

typedef void add_field_fn(struct grpc_call *call, const char *name, struct bytes value);

/* Adds the Headers in the fields of that number. Names of metadata are in lower case. */
static void
add_metadata(struct conversation *conversation, uint32_t number, add_field_fn *add)
{
	struct bytes rest = conversation->definition;
	struct bytes header;

	while (message_next(&rest, number, &header)) {
		char *name = memory_text_of(message_bytes(header, HEADER_NAME));
		struct bytes value;

		for (char *at = name; *at != '\0'; at++) {
			*at = (char)tolower((unsigned char)*at);
		}
		while (message_next(&header, HEADER_VALUE, &value)) {
			add(conversation->call, name, value);
		}
		free(name);
	}
}

/* The first request says how to reply. */
static void
take_definition(struct conversation *conversation)
{
	struct bytes request = conversation->requests[0].content;

	conversation->definition = conversation->rest = message_bytes(request, REQUEST_DEFINITION);
	conversation->is_full_duplex = conversation->method->is_server_streaming &&
				       conversation->method->method.is_client_streaming &&
				       message_number(request, REQUEST_FULL_DUPLEX) != 0;
	add_metadata(conversation, DEFINITION_HEADERS, grpc_call_add_header);
	add_metadata(conversation, fields_of(conversation)->trailers, grpc_call_add_trailer);
	if (conversation->definition.at != NULL && conversation->method->is_server_streaming) {
		grpc_call_send_headers(conversation->call);
	}
}

static void
on_begin(struct grpc_call *call)
{
	struct conversation *conversation = memory_new(sizeof(*conversation));

	conversation->call = call;
	conversation->method = (const struct service_method *)grpc_call_method(call);
	conversation->timer = loop_timer_new(grpc_call_context(call), on_timer, conversation);
	grpc_call_set_state(call, conversation);
	program_set_coding(call);
}

static void
on_message(struct grpc_call *call, struct grpc_message message)
{
	struct conversation *conversation = grpc_call_state(call);

	conversation->requests =
		memory_grow(conversation->requests, conversation->request_count + 1, sizeof(*conversation->requests));
	conversation->requests[conversation->request_count++] = message;
	if (conversation->request_count == 1) {
		take_definition(conversation);
	}
	conversation->has_half_closed = !conversation->method->method.is_client_streaming;
	go_on(conversation);
}

static void
on_half_close(struct grpc_call *call)
{
	struct conversation *conversation = grpc_call_state(call);

	conversation->has_half_closed = true;
	go_on(conversation);
}

static void
on_cancelled(struct grpc_call *call)
{
	free_conversation(grpc_call_state(call));
}

/* --- The program --- */

#define METHOD(name)                                                                                                   \
	.path = "/connectrpc.conformance.v1.ConformanceService/" name, .begin = on_begin, .message = on_message,       \
	.cancelled = on_cancelled
#define STREAM .is_client_streaming = true, .half_close = on_half_close

static const struct service_method unary = {{METHOD("Unary")}, TYPE_PREFIX "UnaryRequest", false};
static const struct service_method idempotent = {
	{METHOD("IdempotentUnary")}, TYPE_PREFIX "IdempotentUnaryRequest", false};
static const struct service_method server_stream = {{METHOD("ServerStream")}, TYPE_PREFIX "ServerStreamRequest", true};
static const struct service_method client_stream = {
	{METHOD("ClientStream"), STREAM}, TYPE_PREFIX "ClientStreamRequest", false};
static const struct service_method bidi_stream = {
	{METHOD("BidiStream"), STREAM}, TYPE_PREFIX "BidiStreamRequest", true};

static struct bytes setup; /* global, as tell_port takes no argument */

static void
tell_port(uint16_t port)
{
	struct buf text;

	buf_init(&text, TEXT_MAX);
	protobuf_put_text(&text, READY_HOST, bytes_text("127.0.0.1"));
	protobuf_put_number(&text, READY_PORT, port);
	if (message_number(setup, SETUP_TLS) != 0) {
		protobuf_put_text(&text, READY_CERT,
				  message_bytes(message_bytes(setup, SETUP_CREDENTIALS), CREDENTIALS_CERT));
	}
	(void)fwrite((const uint8_t[]){0, 0, (uint8_t)(text.length >> 8), (uint8_t)text.length}, 4, 1, stdout);
	(void)fwrite(text.at, text.length, 1, stdout);
	(void)fflush(stdout);
	buf_fini(&text);
}

/* Reads a message behind its length. Exits if there is none. */
static struct bytes
read_setup(void)
{
	static uint8_t room[1 << 16];
	uint8_t at[4];
	size_t length;

	if (fread(at, sizeof(at), 1, stdin) != 1) {
		(void)fputs("conformance_server: expected a ServerCompatRequest on stdin\n", stderr);
		exit(2);
	}
	length = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | (size_t)at[3];
	if (length > sizeof(room) || fread(room, 1, length, stdin) != length) {
		(void)fputs("conformance_server: the ServerCompatRequest is too long or ends early\n", stderr);
		exit(2);
	}
	return bytes_make(room, length);
}

/* The path of a file in memory with that content, until the program ends. */
static const char *
file_of(char path[32], struct bytes content)
{
	int fd = memfd_create("credentials", MFD_CLOEXEC);

	if (fd < 0 || write(fd, content.at, content.length) != (ssize_t)content.length) {
		perror("conformance_server");
		exit(1);
	}
	(void)snprintf(path, 32, "/proc/self/fd/%d", fd);
	return path;
}

static struct tls_options
read_tls(void)
{
	static char cert[32];
	static char key[32];
	static char root[32];
	struct bytes credentials = message_bytes(setup, SETUP_CREDENTIALS);
	struct bytes clients = message_bytes(setup, SETUP_CLIENT_CERT);
	struct tls_options tls = {.service = "grpc", .protocol = "h2"};

	if (message_number(setup, SETUP_TLS) != 0) {
		tls.cert = file_of(cert, message_bytes(credentials, CREDENTIALS_CERT));
		tls.key = file_of(key, message_bytes(credentials, CREDENTIALS_KEY));
		tls.mutual = clients.length > 0;
		tls.root = tls.mutual ? file_of(root, clients) : NULL;
	}
	return tls;
}

int
main(void)
{
	static const struct grpc_method *const methods[] = {&unary.method, &idempotent.method, &server_stream.method,
							    &client_stream.method, &bidi_stream.method};

	setup = read_setup();
	return program_serve(&(struct program_options){.methods = methods,
						       .method_count = sizeof(methods) / sizeof(*methods),
						       .max_message = message_number(setup, SETUP_LIMIT),
						       .tls = read_tls(),
						       .started = tell_port});
}
