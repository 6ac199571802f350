"""What a network costs and how it behaves."""

from keras_resnet.analysis.attention import grad_cam as grad_cam
from keras_resnet.analysis.cost import Cost as Cost
from keras_resnet.analysis.cost import CostComparison as CostComparison
from keras_resnet.analysis.cost import LayerCost as LayerCost
from keras_resnet.analysis.cost import compare_costs as compare_costs
from keras_resnet.analysis.cost import cost as cost
