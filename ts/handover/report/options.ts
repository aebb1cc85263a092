/** The options of `tapferry handover report`. */

import { option } from '../../options/option.ts'
import { colorOption, OUTPUT } from '../../options/shared.ts'
import { usageError } from '../../options/values.ts'

export const handoverReportOptions = {
  output: option({
    flags: '-o,--output',
    value: 'FILE',
    default: 'FILE.html',
    group: OUTPUT,
    brief: 'where the page goes',
    help: ['Where the page goes; - is stdout. Without it, beside the first report.'],
    parse: (text, flag) => {
      if (text === '') throw usageError(`${flag} needs the name of a file`, `write ${flag}=page.html`)
      return text
    },
  }),
  color: colorOption,
}
