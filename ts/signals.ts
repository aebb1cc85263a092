/**
 * The process's signals. Imported before anything else: while SIGUSR1 has no listener, Node answers it by
 * opening its inspector on a TCP port, in a process that may hold CAP_NET_RAW.
 */

type Listener = () => void

let statisticsListener: Listener | undefined
const stopping = new AbortController()

/** Aborted by the first SIGINT or SIGTERM, and when nobody reads our output any more. */
export const stopRequested: AbortSignal = stopping.signal

export function requestStop(): void {
  stopping.abort()
}

/** SIGUSR1 asks for statistics; without a listener it is ignored. */
export function onStatisticsRequest(listener: Listener): void {
  statisticsListener = listener
}

export function catchStatisticsSignal(): void {
  process.on('SIGUSR1', () => statisticsListener?.())
}

/** From now on the first SIGINT or SIGTERM requests a stop, and a second one ends the process at once. */
export function catchStopSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (!stopRequested.aborted) {
        // A terminal shows ^C where the cursor is; what follows begins a line of its own.
        if (signal === 'SIGINT' && process.stderr.isTTY) process.stderr.write('\n')
        return requestStop()
      }
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
    })
  }
}
