/* Every unit test includes this: cmocka, after the headers that it requires. */
#ifndef HIPPOCAMP_BASE_UNIT_TEST_H
#define HIPPOCAMP_BASE_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define assert_bytes(view, expected)                                                                                   \
	do {                                                                                                           \
		struct bytes got_ = (view);                                                                            \
		assert_int_equal(got_.length, strlen(expected));                                                       \
		assert_memory_equal(got_.at, (expected), strlen(expected));                                            \
	} while (0)

#endif
