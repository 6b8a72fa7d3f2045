#include "base/fault.h"

const struct fault faults[FAULT_COUNT] = {
	{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
	{SIGILL, "SIGILL"},   {SIGABRT, "SIGABRT"}, {SIGTRAP, "SIGTRAP"},
};

void
fault_set_others(sigset_t *others)
{
	(void)sigfillset(others);
	for (size_t i = 0; i < FAULT_COUNT; i++) {
		(void)sigdelset(others, faults[i].signal);
	}
}
