/** The host: kernel, clock, memory. Pure. */

import type { Facts, Kernel } from '../facts.ts'
import { type Finding, info, ok, warning } from '../finding.ts'

/** What a balanced capture takes when it is busy, and its successor for a moment beside it. */
const RING_BYTES = 2 * 80 * 1024 * 1024

/** A ring hands over a block that is this old. */
const RETIRE_NS = 4_000_000

export function checkHost(facts: Facts): Finding[] {
  return [...checkKernel(facts), checkClock(facts), ...checkMemory(facts)]
}

function checkKernel({ kernel, clock, request }: Facts): Finding[] {
  const findings: Finding[] = []
  // Before 6.18 the ring's timer counts in jiffies.
  if (!atLeast(kernel, 6, 18) && clock.jiffyNs > RETIRE_NS && request.latency === 'balanced') {
    const ms = Math.ceil(clock.jiffyNs / 1e6)
    findings.push(
      info(
        'TIMER_COARSE',
        'kernel',
        `Linux ${kernel.release} counts a ring's timer in jiffies of ${ms} ms: under load frames leave up to so much later`,
        {
          note: '--latency=low sends each at once',
        },
      ),
    )
  }
  const features = [
    ['5.17', 'SO_MARK with CAP_NET_RAW alone', atLeast(kernel, 5, 17)],
    ['6.1', 'gates by the TAI clock in the kernel', atLeast(kernel, 6, 1)],
    ['6.6', 'tcx links', atLeast(kernel, 6, 6)],
  ] as const
  return [
    ...findings,
    ...features.map(([since, what, there]) =>
      ok('KERNEL', 'kernel', `${what} (since Linux ${since}): ${there ? 'yes' : 'no'}`),
    ),
  ]
}

function checkClock({ clock, monitor }: Facts): Finding {
  const tai = `TAI is UTC + ${clock.taiOffset} s`
  if (clock.synchronized)
    return ok('CLOCK', 'clock', `it is synchronized, within ${clock.errorUs} us; ${tai}`)
  const message = `it is not synchronized; ${tai}. Within this host that does not matter`
  // Times of two hosts are compared only where the VM is on another one.
  return monitor?.local === false
    ? warning('CLOCK_FREE', 'clock', 'it is not synchronized, and the VM is on another host', {
        fix: 'timedatectl set-ntp true',
      })
    : ok('CLOCK', 'clock', message)
}

function checkMemory({ memoryAvailable, request }: Facts): Finding[] {
  const mib = Math.floor(memoryAvailable / 1024 / 1024)
  if (memoryAvailable < RING_BYTES && request.latency === 'balanced') {
    return [
      warning(
        'MEMORY_SHORT',
        'memory',
        `${mib} MiB are available, and a busy capture ring takes 80 MiB, twice for a moment`,
        {
          note: '--latency=low does without a ring',
        },
      ),
    ]
  }
  return [ok('MEMORY', 'memory', `${mib} MiB are available`)]
}

function atLeast({ major, minor }: Kernel, wantedMajor: number, wantedMinor: number): boolean {
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
}
