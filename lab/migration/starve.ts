/** Busy loops that leave little of the processors to anything else. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import type { Cleanup } from './cleanup.ts'

export function starve(cleanup: Cleanup): void {
  const loop = ['--pdeathsig=KILL', '--', 'sh', '-c', 'while :; do :; done']
  for (let processor = 0; processor < availableParallelism(); processor += 1) {
    const child = spawn('setpriv', loop, { stdio: 'ignore' })
    const ended = once(child, 'close')
    cleanup.add(() => {
      child.kill('SIGKILL')
      return ended
    })
  }
}
