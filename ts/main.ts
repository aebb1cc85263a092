/**
 * The process: signals, exit status, closed pipes, the last resort for errors.
 *
 * The exit status starts as failure and stays so until a command says otherwise. Everything else is imported
 * after the signals are caught.
 */

import { ExitStatus, TapferryError } from './errors.ts'
import { catchStatisticsSignal, requestStop } from './signals.ts'

catchStatisticsSignal()
process.exitCode = ExitStatus.Failed

// A reader that went away (`| head`) is no failure: what is written is for nobody, so end quietly.
process.stdout.on('error', error => {
  if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
  process.exitCode = ExitStatus.Done
  requestStop()
})
// Nor is a closed stderr a reason to stop forwarding.
process.stderr.on('error', error => {
  if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
})

const argv = process.argv.slice(2)
const { reportFailure } = await import('./output/failure.ts')
try {
  const { runCommandLine } = await import('./cli.ts')
  process.exitCode = await runCommandLine(argv)
} catch (error) {
  process.exitCode = reportFailure(TapferryError.from(error), argv)
}
