"""SmaCross: hold the stock while its fast moving average is above its slow one.

weaver backtest sma_cross.py --data demo:AAPL --report report.html
weaver backtest sma_cross.py --data demo:MSFT --param fast=20 --param slow=50
weaver check sma_cross.py --data demo:AAPL
"""

from weaver import Strategy
from weaver.indicators import sma


class SmaCross(Strategy):
    # Typed class attributes are the parameters. The command line sets them with --param fast=20.
    fast: int = 10
    slow: int = 30

    def on_start(self):
        # Called once, before the first bar. An indicator is any function of arrays whose value at a bar depends on
        # that bar and earlier ones only: weaver.indicators, TA-Lib, NumPy or your own.
        self.fast_ma = self.indicator(sma, self.bars.close, self.fast)
        self.slow_ma = self.indicator(sma, self.bars.close, self.slow)

    def on_bar(self, bar):
        # Called when a bar has closed and the indicators have a value. [-1] is the bar that has just closed, [-2] the
        # one before. Orders given here fill from the next bar on: there is no way to trade on a price of the past.
        if self.fast_ma[-1] > self.slow_ma[-1] and not self.position:
            self.target(weight=1.0)  # all of the equity; or: self.buy(quantity=10, stop_loss=bar.close * 0.95)
        elif self.fast_ma[-1] < self.slow_ma[-1] and self.position:
            self.close()
