/*
 * Crash reports. On a fatal signal the process writes version, build, signal, thread and backtrace to standard error
 * and the log file. The signal then takes its default action, which dumps core where cores are allowed.
 *
 * To find the source line of a frame: `addr2line -f -e hippocamp 0xOFFSET`, with the offset after the frame's '+'.
 */
#ifndef HIPPOCAMP_APP_CRASH_H
#define HIPPOCAMP_APP_CRASH_H

/* Call before other threads start. Does nothing under AddressSanitizer, whose own report says more. */
void crash_report_enable(void);

#endif
