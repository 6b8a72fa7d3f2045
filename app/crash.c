#include "app/crash.h"

#include "base/address_sanitizer.h"
#include "base/bytes.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/version.h"

#include <elf.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define FRAMES_MAX 64
#define STACK_SIZE ((size_t)64 * 1024)

static char build[64] = "unknown";

/* Reads the program's build ID from the note that the linker writes (--build-id). */
static int
read_build(struct dl_phdr_info *object, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];
		const uint8_t *at = (const uint8_t *)object->dlpi_addr + header->p_vaddr;
		const uint8_t *end = at + header->p_memsz;

		while (header->p_type == PT_NOTE && at + sizeof(ElfW(Nhdr)) <= end) {
			const ElfW(Nhdr) *note = (const void *)at;
			const uint8_t *content = at + sizeof(*note) + ((note->n_namesz + 3U) & ~3U);

			for (size_t k = 0; note->n_type == NT_GNU_BUILD_ID && k < note->n_descsz && k < 20; k++) {
				build[2 * k] = "0123456789abcdef"[content[k] >> 4];
				build[2 * k + 1] = "0123456789abcdef"[content[k] & 15];
				build[2 * k + 2] = '\0';
			}
			at = content + ((note->n_descsz + 3U) & ~3U);
		}
	}
	return 1; /* the first object is the program itself */
}

/* From here to on_fault: called by the signal handler, so no malloc or stdio. */

/* The report's first line. Written whole, because the other threads go on and write to the log. */
struct line {
	char text[512];
	size_t length;
};

static void
put_text(struct line *line, const char *text)
{
	while (*text != '\0' && line->length < sizeof(line->text)) {
		line->text[line->length++] = *text++;
	}
}

static void
put_number(struct line *line, uintptr_t number, unsigned base)
{
	char digits[24] = {0};
	size_t at = sizeof(digits) - 1;

	do {
		digits[--at] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number != 0);
	put_text(line, digits + at);
}

static void
describe(struct line *line, int signal, const siginfo_t *information)
{
	char thread[16] = "?";

	(void)pthread_getname_np(pthread_self(), thread, sizeof(thread));
	put_text(line, "hippocamp " HIPPOCAMP_VERSION " (build ");
	put_text(line, build);
	put_text(line, "): fatal signal ");
	put_number(line, (uintptr_t)signal, 10);
	for (size_t i = 0; i < FAULT_COUNT; i++) {
		if (faults[i].signal == signal) {
			put_text(line, " ");
			put_text(line, faults[i].name);
		}
	}
	if (signal == SIGSEGV || signal == SIGBUS) {
		put_text(line, " at address 0x");
		put_number(line, (uintptr_t)information->si_addr, 16);
	}
	put_text(line, " in process ");
	put_number(line, (uintptr_t)getpid(), 10);
	put_text(line, ", thread '");
	put_text(line, thread);
	put_text(line, "'; this is a bug, please report it with these lines:\n");
}

static void
report(int fd, const struct line *line, void *const *frames, int count)
{
	ssize_t put = write(fd, line->text, line->length);

	(void)put;
	backtrace_symbols_fd(frames, count, fd);
}

/* Installed with SA_RESETHAND, so that the raised signal takes its default action. */
static void
on_fault(int signal, siginfo_t *information, void *context)
{
	void *frames[FRAMES_MAX];
	int count = backtrace(frames, FRAMES_MAX);
	int log = log_descriptor();
	struct line line = {.length = 0};

	(void)context;
	describe(&line, signal, information);
	report(STDERR_FILENO, &line, frames, count);
	if (log != STDERR_FILENO) {
		report(log, &line, frames, count);
	}
	(void)raise(signal);
}

void
crash_report_enable(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = (int)(SA_SIGINFO | SA_RESETHAND | SA_ONSTACK)};
	stack_t stack = {.ss_size = STACK_SIZE};
	void *frame;

	if (ADDRESS_SANITIZER) {
		return;
	}
	stack.ss_sp = malloc(STACK_SIZE); /* for a stack overflow in the main thread */
	if (stack.ss_sp != NULL) {
		(void)sigaltstack(&stack, NULL);
	}
	(void)dl_iterate_phdr(read_build, NULL);
	(void)backtrace(&frame, 1); /* loads libgcc_s now, not in the handler */
	(void)sigfillset(&action.sa_mask);
	for (size_t i = 0; i < FAULT_COUNT; i++) {
		(void)sigaction(faults[i].signal, &action, NULL);
	}
}
