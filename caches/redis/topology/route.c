/* Sending commands: choosing the server, judging its answer, following redirections. */
#include "base/clock.h"
#include "caches/redis/connection/command.h"
#include "caches/redis/topology/topology.h"

#include <stdio.h>
#include <stdlib.h>

#define HOPS_MAX 5
#define COMMAND_KEPT ((size_t)1 << 20)
#define REFUSAL_LOG_INTERVAL_NS UINT64_C(60000000000)

uint16_t
route_slot(const struct redis_topology *topology, struct bytes key)
{
	return topology->cluster ? redis_slot(key) : 0;
}

/* Counts a refusal by its name, and logs it at most once a minute for each name. */
static void
account_refusal(const struct redis_command *command, enum redis_refusal refusal, const char *text)
{
	struct redis_topology *topology = command->topology;
	const char *remedy = redis_refusal_remedy(refusal);
	uint64_t now = clock_now_ns();
	uint64_t last = atomic_load(&topology->refusal_logged_ns[refusal]);
	char line[768];

	counter_add(&topology->shared.refusals[refusal], 1);
	if (command->quiet || refusal == REDIS_REFUSAL_MOVED || refusal == REDIS_REFUSAL_ASK ||
	    (last != 0 && now - last < REFUSAL_LOG_INTERVAL_NS)) {
		return;
	}
	if (atomic_compare_exchange_strong(&topology->refusal_logged_ns[refusal], &last, now)) {
		(void)snprintf(line, sizeof(line),
			       "cache 'redis': a command was refused: %.400s%s%s (said at most "
			       "once a minute)",
			       text, remedy == NULL ? "" : "; ", remedy == NULL ? "" : remedy);
		topology_log(topology, LOG_WARNING, line);
	}
}

/* --- Redirections --- */

static void
on_asking(struct redis_request *request, const struct redis_reply *reply)
{
	(void)reply;
	free(request);
}

/* Sends ASKING: the next command on this connection is for a key that has moved here before its slot has. */
static bool
send_asking(struct redis_link *link)
{
	struct redis_request *request = calloc(1, sizeof(*request));

	if (request == NULL) {
		return false;
	}
	request->done = on_asking;
	if (!redis_connection_send(link->connection, request, bytes_text("*1\r\n$6\r\nASKING\r\n"))) {
		free(request);
		return false;
	}
	return true;
}

static bool send_on(struct redis_command *command, struct redis_link *link);

static enum redis_use
use_of(const struct redis_command *command)
{
	if (command->on_write_link) {
		return command->large ? REDIS_WRITE_LARGE : REDIS_WRITE;
	}
	return command->large ? REDIS_LARGE : REDIS_SMALL;
}

/* Follows a redirection. Returns false if it leads nowhere. */
static bool
follow(struct redis_command *command, const struct redis_reply *reply)
{
	struct redis_topology *topology = command->topology;
	struct redis_address address;
	struct redis_node *node;
	struct redis_link *link;
	enum redis_redirect kind;
	uint16_t slot;

	if (topology->shared.settings->topology == REDIS_SERVER || command->hops++ >= HOPS_MAX ||
	    !redis_redirect_read(reply_text(&reply->base), &kind, &slot, &address, &command->node->address)) {
		return false;
	}
	node = topology_find(topology, &address);
	if (node == NULL) {
		return false;
	}
	if (kind == REDIS_REDIRECT_MOVED && node == command->node) {
		redis_node_renew(node,
				 "it sends commands to its own address (MOVED), which must be another server's now");
		topology_suspect(topology);
		return false;
	}
	if (kind == REDIS_REDIRECT_MOVED) {
		topology_move_slot(topology, slot, node);
		topology_suspect(topology);
		command->slot = slot;
	}
	link = redis_node_pick(node, use_of(command));
	return link != NULL && (kind == REDIS_REDIRECT_MOVED || send_asking(link)) && send_on(command, link);
}

/* --- Answers --- */

static enum redis_refusal
judge_error(struct redis_command *command, const struct redis_reply *reply)
{
	enum redis_refusal refusal = redis_refusal_of(reply_text(&reply->base));

	account_refusal(command, refusal, reply->base.str);
	if (redis_refusal_of_node(refusal)) {
		redis_node_refused(command->node, reply->base.str);
	} else if (refusal == REDIS_REFUSAL_OTHER && !command->quiet &&
		   !redis_refusal_is_of_key(reply_text(&reply->base))) {
		redis_node_failed(command->node, &command->request); /* from a proxy, say, without its server */
	} else {
		redis_node_succeeded(command->node, &command->request);
	}
	if (refusal == REDIS_REFUSAL_READONLY && command->to_primary) {
		redis_node_renew(command->node,
				 "it takes no writes any more (READONLY), so that the address may lead to "
				 "another server by now, which is looked for");
	}
	if (refusal == REDIS_REFUSAL_READONLY || refusal == REDIS_REFUSAL_CLUSTERDOWN ||
	    refusal == REDIS_REFUSAL_UNSERVED) {
		topology_suspect(command->topology);
	}
	return refusal;
}

static void
on_answer(struct redis_request *request, const struct redis_reply *reply)
{
	struct redis_command *command = (struct redis_command *)request;
	enum redis_refusal refusal;

	command->node->pending--;
	if (reply == NULL) {
		redis_node_failed(command->node, request);
	} else if (reply->base.type == VALKEY_REPLY_ERROR) {
		refusal = judge_error(command, reply);
		if ((refusal == REDIS_REFUSAL_MOVED || refusal == REDIS_REFUSAL_ASK) && follow(command, reply)) {
			return;
		}
	} else {
		redis_node_succeeded(command->node, request);
	}
	command->done(command, reply);
}

static bool
send_on(struct redis_command *command, struct redis_link *link)
{
	struct redis_topology *topology = command->topology;
	bool sent;

	command->node = link->node;
	command->request.done = on_answer;
	buf_clear(&topology->command);
	command->write(command, &topology->command);
	sent = buf_ok(&topology->command) &&
	       redis_connection_send(link->connection, &command->request, buf_bytes(&topology->command));
	link->node->pending += sent;
	if (!buf_ok(&topology->command) || topology->command.capacity > COMMAND_KEPT) {
		buf_fini(&topology->command);
		buf_init(&topology->command, REDIS_COMMAND_MAX);
	}
	return sent;
}

bool
route_send_to(struct redis_command *command, struct redis_node *node)
{
	struct redis_link *link = redis_node_pick(node, use_of(command));

	return link != NULL && send_on(command, link);
}

bool
route_send(struct redis_command *command)
{
	struct redis_node *node = topology_node(command->topology, command->slot, command->to_primary);

	return node != NULL && route_send_to(command, node);
}

/* --- Commands of words --- */

struct words_command {
	struct redis_command command; /* first */
	struct buf text;
	route_words_fn done;
	void *argument;
};

static void
free_words(struct words_command *words)
{
	buf_fini(&words->text);
	free(words);
}

static void
write_words(struct redis_command *command, struct buf *text)
{
	buf_append(text, buf_bytes(&((struct words_command *)command)->text));
}

static void
on_words_done(struct redis_command *command, const struct redis_reply *reply)
{
	struct words_command *words = (struct words_command *)command;

	if (words->done != NULL) {
		words->done(words->argument, reply);
	}
	free_words(words);
}

static struct words_command *
new_words(struct redis_topology *topology, size_t count, const struct bytes *words)
{
	struct words_command *new = calloc(1, sizeof(*new));

	if (new == NULL) {
		return NULL;
	}
	new->command = (struct redis_command){.topology = topology, .write = write_words, .done = on_words_done};
	buf_init(&new->text, REDIS_COMMAND_MAX);
	buf_byte(&new->text, '*');
	buf_unsigned(&new->text, count);
	buf_text(&new->text, "\r\n");
	for (size_t i = 0; i < count; i++) {
		command_append(&new->text, words[i]);
	}
	if (!buf_ok(&new->text)) {
		free_words(new);
		return NULL;
	}
	return new;
}

/*
 * Commands that only read. They go to the primary, as replicas may lag, but not over the connection for writes, which a
 * server may hold back.
 */
static bool
reads_only(struct bytes name)
{
	return bytes_equal_text(name, "GET") || bytes_equal_text(name, "HGETALL") || bytes_equal_text(name, "HLEN");
}

bool
route_words(struct redis_topology *topology, enum route_refusal refusal, size_t count, const struct bytes *words,
	    route_words_fn done, void *argument)
{
	struct words_command *new = new_words(topology, count, words);

	if (new == NULL) {
		return false;
	}
	new->command.to_primary = true;
	new->command.on_write_link = !reads_only(words[0]);
	new->command.quiet = refusal == ROUTE_QUIET;
	new->command.slot = route_slot(topology, words[1]);
	new->done = done;
	new->argument = argument;
	if (!route_send(&new->command)) {
		free_words(new);
		return false;
	}
	return true;
}

bool
route_words_on(struct redis_topology *topology, struct redis_link *link, enum route_refusal refusal, size_t count,
	       const struct bytes *words, route_words_fn done, void *argument)
{
	struct words_command *new = link == NULL ? NULL : new_words(topology, count, words);

	if (new == NULL) {
		return false;
	}
	new->command.quiet = refusal == ROUTE_QUIET;
	new->command.hops = HOPS_MAX;
	new->done = done;
	new->argument = argument;
	if (!send_on(&new->command, link)) {
		free_words(new);
		return false;
	}
	return true;
}
