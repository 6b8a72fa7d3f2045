#include "caches/redis/connection/node_board.h"

#include "base/unit_test.h"

struct told {
	struct cache_node nodes[4];
	size_t count;
};

static void
note(void *context, const struct cache_node *node)
{
	struct told *told = context;

	assert_true(told->count < 4);
	told->nodes[told->count++] = *node;
}

static struct told
read_board(struct node_board *board)
{
	struct told told = {0};

	node_board_read(board, note, &told);
	return told;
}

static void
test_the_lanes_of_a_server_are_summed_up(void **state)
{
	struct node_notice notices[3] = {
		{.connections = 1, .round_trip_ns = 100000},
		{.connections = 2, .round_trip_ns = 0, .has_open_breaker = true}, /* its thread has asked nothing yet */
		{.connections = 4, .round_trip_ns = 300000},
	};
	struct node_board board;
	struct told told;

	(void)state;
	node_board_init(&board);
	assert_int_equal(read_board(&board).count, 0);
	node_board_add(&board, &notices[0], "b:1");
	node_board_add(&board, &notices[1], "a:1");
	node_board_add(&board, &notices[2], "b:1");
	told = read_board(&board);
	assert_int_equal(told.count, 2);
	assert_string_equal(told.nodes[0].name, "a:1");
	assert_int_equal(told.nodes[0].open_breakers, 1);
	assert_true(told.nodes[0].round_trip_us == 0);
	assert_string_equal(told.nodes[1].name, "b:1");
	assert_int_equal(told.nodes[1].lanes, 2);
	assert_int_equal(told.nodes[1].connected_lanes, 2);
	assert_int_equal(told.nodes[1].connections, 5);
	assert_int_equal(told.nodes[1].open_breakers, 0);
	assert_true(told.nodes[1].round_trip_us == 200);
	for (int i = 0; i < 3; i++) {
		node_board_remove(&board, &notices[i]);
	}
	assert_int_equal(read_board(&board).count, 0);
	node_board_fini(&board);
}

static void
test_metrics(void **state)
{
	struct node_notice notice = {.connections = 3, .round_trip_ns = 250000000, .has_open_breaker = true};
	struct node_board board;
	struct metric_sink printer;
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 16);
	printer = metric_printer(&out);
	node_board_init(&board);
	node_board_add(&board, &notice, "\"quoted\":1");
	node_board_metrics(&board, &printer);
	buf_byte(&out, '\0');
	assert_non_null(
		strstr((const char *)out.at, "hippocamp_cache_node_connections{node=\"\\\"quoted\\\":1\"} 3\n"));
	assert_non_null(
		strstr((const char *)out.at, "hippocamp_cache_node_open_breakers{node=\"\\\"quoted\\\":1\"} 1\n"));
	assert_non_null(strstr((const char *)out.at,
			       "hippocamp_cache_node_round_trip_seconds{node=\"\\\"quoted\\\":1\"} 0.25\n"));
	node_board_remove(&board, &notice);
	node_board_fini(&board);
	buf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_lanes_of_a_server_are_summed_up),
		cmocka_unit_test(test_metrics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
