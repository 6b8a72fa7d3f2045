/*
 * What is told when the process dies of a fault: version, build, signal, thread and backtrace, on standard error and in
 * the log file; then the signal has its usual effect, which leaves a core where cores are allowed.
 *
 * `addr2line -f -e hippocamp 0xOFFSET`, with the number in brackets behind the '+', tells the line of a frame.
 */
#ifndef HIPPOCAMP_APP_CRASH_H
#define HIPPOCAMP_APP_CRASH_H

/* Before other threads start. Nothing is done in builds with AddressSanitizer, which tells more by itself. */
void crash_report_enable(void);

#endif
